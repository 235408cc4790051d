"""The metrics of a miner, in a registry of their own: a validator's would stand at 0 beside them and wake somebody."""

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector

from validator import telemetry

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
for shared in (
    *(telemetry.RPC_REQUESTS, telemetry.RPC_SECONDS, telemetry.RPC_NODE_HEALTHY),
    *(telemetry.LOOP_LAG_SECONDS, telemetry.LOG_LINES_DROPPED),
):
    REGISTRY.register(shared)

JOBS = Gauge(
    "touchstone_miner_jobs",
    "Jobs by their status (queued, running, succeeded, failed, ...), and by their outcome once they are closed.",
    ["state"],
    registry=REGISTRY,
)
PROBES_ANSWERED = Counter("touchstone_miner_probes_answered", "Probes answered by the model.", registry=REGISTRY)
MODEL_SERVER_ERRORS = Counter(
    "touchstone_miner_model_server_errors", "Questions that the model server did not answer.", registry=REGISTRY
)
CHECKS_FAILED = Counter(
    "touchstone_miner_checks_failed",
    "Times that a model server was not seen to have the trained model (adapter not loaded): act.",
    registry=REGISTRY,
)
COMMANDS_FAILED = Counter(
    "touchstone_miner_commands_failed", "Commands that failed or took too long.", ["command"], registry=REGISTRY
)
STAKE_WEI = Gauge("touchstone_miner_stake_wei", "In the contract, locked bonds included.", registry=REGISTRY)
LOCKED_WEI = Gauge("touchstone_miner_locked_wei", "Bonds of running tasks.", registry=REGISTRY)
BALANCE_WEI = Gauge("touchstone_miner_balance_wei", "What the account has for gas and stake.", registry=REGISTRY)
FREE_BYTES = Gauge("touchstone_miner_disk_free_bytes", "Where the state directory is.", registry=REGISTRY)
