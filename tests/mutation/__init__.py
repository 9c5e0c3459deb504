"""Mutation testing of our own: small changes of the source that some test must notice.

``python -m tests.mutation --mutants 500 --seed 1 --only strategy/router.py``
"""
