"""One matching engine with two faces: in process and on the wire."""
