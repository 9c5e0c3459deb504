"""The frontier: what a second of exposure buys, for ours and for every baseline."""

from pathlib import Path
from typing import Any

from daemon.config import EXIT_USAGE, ConfigError

FORMATS = (".svg", ".png")


def plot_frontier(report: dict[str, Any], path: Path) -> None:
    """Write one panel a size: all-in cost over exposure, ours as a line, baselines as points.

    Raises:
        ConfigError: another format than SVG or PNG, the plotting library is missing, or the file
            cannot be written.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(EXIT_USAGE, f"--frontier {path}: must end in .svg or .png")
    try:
        import matplotlib as mpl  # noqa: PLC0415 - a development dependency that nothing else needs
    except ImportError as missing:
        raise ConfigError(
            EXIT_USAGE, "--frontier needs matplotlib; install it or leave the flag out"
        ) from missing
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of a backend

    sizes = list(report["frontier"])
    figure, panels = plt.subplots(1, len(sizes), figsize=(5.5 * len(sizes), 4.5), squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        _panel(panel, report, size)
    figure.suptitle(f"Cost of hedging {report['ticker']} against exposure")
    figure.tight_layout()
    try:
        figure.savefig(path)
    except OSError as bad:
        raise ConfigError(EXIT_USAGE, f"--frontier {path}: {bad.strerror}") from bad
    finally:
        plt.close(figure)


def _panel(panel: Any, report: dict[str, Any], size: str) -> None:
    points = sorted(report["frontier"][size], key=lambda p: p["naked_base_seconds_mean"])
    panel.errorbar(
        [p["naked_base_seconds_mean"] for p in points],
        [p["cost_bps_mean"] for p in points],
        yerr=[p["cost_bps_ci95"] for p in points],
        marker=".",
        label="smart, risk aversion 0 to max",
    )
    for name, row in report["sizes"][size].items():
        panel.errorbar(
            [row["naked_base_seconds_mean"]],
            [row["cost_bps_mean"]],
            yerr=[row["cost_bps_ci95"]],
            marker="*" if name == "smart" else "s",
            linestyle="none",
            label=f"{name} (default)" if name == "smart" else name,
        )
    panel.set_xscale("symlog", linthresh=0.01)
    panel.set_title(f"size {size}")
    panel.set_xlabel("naked exposure, base x seconds (mean)")
    panel.set_ylabel("all-in cost, bps (mean, 95 %)")
    panel.legend(fontsize=7)
