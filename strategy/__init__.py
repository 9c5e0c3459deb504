"""The pure core: types, fold, decide, routing. Standard library only."""
