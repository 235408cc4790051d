"""`touchstone audit`: every commitment, count, verdict and payment recomputed from public data (protocol, "Audit").

Rule kept: nothing of the daemon is in here, and nothing that anybody says is believed that can be computed.
"""
