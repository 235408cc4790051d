"""What an operator can count on: every Prometheus metric of the validator. Labels have few values, all of them ours.

A counter that an alert waits for is there at 0 for each of its labels from the start, set by whoever counts: `increase`
sees nothing in a series that begins at 1.
"""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("touchstone_events", "Events that changed a task.", ["kind"])
EFFECT_SECONDS = Histogram(
    "touchstone_effect_seconds",
    "Time to carry an effect out, retries included.",
    ["kind"],
    buckets=(0.05, 0.25, 1, 5, 15, 60, 300, 1800),
)
EFFECTS_REFUSED = Counter("touchstone_effects_refused", "Calls that the contract refused unexpectedly: act.", ["kind"])
MINER_FAULTS = Counter("touchstone_miner_faults", "Times that a miner broke the protocol over HTTP.")

TRANSACTIONS_IN_FLIGHT = Gauge("touchstone_transactions_in_flight", "Nonces sent and not yet final.")
OLDEST_TRANSACTION_SECONDS = Gauge("touchstone_oldest_transaction_seconds", "Age of the oldest nonce in flight.")
TRANSACTION_ATTEMPTS = Counter("touchstone_transaction_attempts", "Transactions signed.")
TRANSACTION_ANSWERS = Counter("touchstone_transaction_answers", "What nodes said to signed transactions.", ["answer"])
TRANSACTIONS_REPLACED = Counter("touchstone_transactions_replaced", "Transactions sent again at a higher fee.")
TRANSACTIONS_CAPPED = Counter("touchstone_transactions_capped", "Transactions whose fee has reached its cap: act.")
TRANSACTIONS_REORGED = Counter("touchstone_transactions_reorged", "Transactions that a reorganisation took away.")
GAS_SPENT_WEI = Counter("touchstone_gas_spent_wei", "Paid for gas by final transactions, failed ones included.")

DEADLINE_ALARMS = Counter(
    "touchstone_deadline_alarms", "Transactions not mined when this share of their time was gone.", ["share"]
)

RPC_REQUESTS = Counter(
    "touchstone_rpc_requests",
    "Requests to a node, by its place in the configuration: answered, error, busy, unreachable, nonsense, cancelled.",
    ["node", "method", "outcome"],
)
RPC_SECONDS = Histogram(
    "touchstone_rpc_seconds",
    "Time that a node took to answer or fail.",
    ["node"],
    buckets=(0.01, 0.05, 0.1, 0.25, 1, 2.5, 10, 30),
)
RPC_NODE_HEALTHY = Gauge("touchstone_rpc_node_healthy", "Whether a node answers and keeps up.", ["node"])
RPC_FAILOVERS = Counter("touchstone_rpc_failovers", "Reads that one node failed, so that another was asked.")
RPC_DISAGREEMENTS = Counter("touchstone_rpc_disagreements", "Answers on which no two nodes agreed: act.")

CHAIN_FINAL_BLOCK = Gauge("touchstone_chain_final_block", "Number of the newest block that was taken for final.")
CHAIN_EVENTS_MISSED = Counter(
    "touchstone_chain_events_missed", "Events of the contract that came only when they were asked for again."
)

TASKS = Gauge("touchstone_tasks", "Tasks by the phase that they are in.", ["phase"])
VERDICTS = Counter("touchstone_verdicts", "Final settlements by their zone.", ["zone"])
HITS = Histogram("touchstone_hits", "Hits of settled tasks.", buckets=(0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64))
EFFECTS_IN_FLIGHT = Gauge("touchstone_effects_in_flight", "Effects that are not done, by kind.", ["kind"])
NEAREST_DEADLINE_TIMESTAMP_SECONDS = Gauge(
    "touchstone_nearest_deadline_timestamp_seconds",
    "The contract's next deadline of a task that runs, whoever has to act; NaN without one.",
)
REQUESTS_WAITING = Gauge("touchstone_requests_waiting", "Customers' requests that wait for a miner or a place.")
OLDEST_EFFECT_SECONDS = Gauge("touchstone_oldest_effect_seconds", "Age of the oldest effect that is not done.")

FEES_EARNED_WEI = Counter("touchstone_fees_earned_wei", "Fees of final settlements.")
BONDS_LOCKED_WEI = Gauge("touchstone_bonds_locked_wei", "The validator's bonds in tasks that are not closed.")
CREDIT_WEI = Gauge("touchstone_credit_wei", "The validator's deposits and credits in the contract.")
BALANCE_WEI = Gauge("touchstone_balance_wei", "What the validator's account has for gas.")

BUNDLES_MISSING = Gauge("touchstone_bundles_missing", "Evidence that should be there and is not, or is damaged: act.")
DISK_FREE_BYTES = Gauge("touchstone_disk_free_bytes", "Free space where the state directory is.")
LOG_LINES_DROPPED = Counter("touchstone_log_lines_dropped", "Log lines that nobody took in time.")
LOOP_LAG_SECONDS = Histogram(
    "touchstone_event_loop_lag_seconds",
    "How late the event loop came to a timer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
LOOP_LAG_P999_SECONDS = Gauge("touchstone_event_loop_lag_p999_seconds", "Its 99.9th percentile over ten minutes.")
BUILD_INFO = Gauge("touchstone_build_info", "Always 1; the labels say what runs.", ["version", "python", "chain_id"])
