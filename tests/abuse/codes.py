"""Every error code that the two venues document, and the statuses they come with."""

GRVT_CODES = frozenset(
    {
        1000, 1001, 1003, 1004, 1006, 1008, 1012, 1101, 1102, 1103, 1107, 1200, 1400,
        *range(2000, 2009),  # signature
        2010, 2011, 2012, 2020, 2021, 2030, 2032, 2040, 2041, 2042, 2050, 2051,  # order
        2060, 2061, 2062, 2064, 2065, 2066, 2067, 2080, 2081, 2082, 2083, 2084, 2090,
        *range(2100, 2109), *range(2110, 2118), 2222, *range(2233, 2237), 2242, 2300, 2301,
        2400, 2401, 2402, 2413,
        3000, 3001, 3004, 3006, 3011, 3013, 3020, 3021, 3030, 3031, 3040, 3041,
        6000, 7201, 7304, *range(7500, 7506),  # countdown, band, builder fees
    }
)  # fmt: skip
"""What a client can cause: 1002, 1005 and 1009 are the venue's own failures and never come."""
GRVT_STATUSES = frozenset({200, 400, 401, 403, 404, 413, 429})
BACKPACK_CODES = frozenset(
    {
        "ACCOUNT_DEACTIVATED", "ACCOUNT_LIQUIDATING", "BORROW_LIMIT",
        "BORROW_REQUIRES_LEND_REDEEM", "FORBIDDEN", "INSUFFICIENT_FUNDS", "INSUFFICIENT_MARGIN",
        "INSUFFICIENT_SUPPLY", "INVALID_ASSET", "INVALID_CLIENT_REQUEST", "INVALID_MARKET",
        "INVALID_ORDER", "INVALID_PRICE", "INVALID_POSITION_ID", "INVALID_QUANTITY",
        "INVALID_RANGE", "INVALID_SIGNATURE", "INVALID_SOURCE", "INVALID_SYMBOL",
        "INVALID_TWO_FACTOR_CODE", "LEND_LIMIT", "LEND_REQUIRES_BORROW_REPAY",
        "MAX_LEVERAGE_REACHED", "NOT_IMPLEMENTED", "ORDER_LIMIT", "POSITION_LIMIT",
        "PRECONDITION_FAILED", "RESOURCE_NOT_FOUND", "TOO_EARLY", "TOO_MANY_REQUESTS",
        "TRADING_PAUSED", "UNAUTHORIZED",
    }
)  # fmt: skip
"""What a client can cause: MAINTENANCE, SERVER_ERROR and TIMEOUT are the venue's own failures."""
BACKPACK_STATUSES = frozenset({200, 202, 204, 400, 401, 403, 404, 405, 413, 429})
BACKPACK_SOCKET_CODES = frozenset({4002, 4003, 4006, 4008})
"""Captured, but for 4003 (bad signature), which is a guess."""
CONTROL_STATUSES = frozenset({200, 400, 404, 405, 413})
