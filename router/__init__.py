"""The router: signals, estimates, the decision, the pipeline that carries it out, and the ledger.

Read pipeline.py first: the whole path of a question is there, in order.
"""
