# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize codesize
# pragma nonreentrancy on
"""
@title   Touchstone
@license Apache-2.0
@notice  A miner is paid or slashed by what it signed, counted here, over rows that were fixed before it saw the data,
         with thresholds that were fixed before anybody saw the model.
@dev     Money enters through `deposit` alone and leaves through `withdraw` and burns alone. Between them it is in one
         of three places: an account's credit, an account's stake (or stake on its way out), a task's escrow.
         A task's terms are not stored: every call brings them, and they must hash to the task id. One word per task
         keeps what changes. Nobody has power over a task in flight; the guardian can stop new ones, once.
         Every check reverts with "module: reason". What the ABI decoder, the payable check and the re-entrancy lock refuse
         reverts without a message.
"""

# --- bounds -----------------------------------------------------------------------------------------------------------

MIN_N: constant(uint256) = 16
MAX_N: constant(uint256) = 64
MAX_W: constant(uint256) = 16
MAX_PROOF: constant(uint256) = 24
MAX_COMMITTEE: constant(uint256) = 16
MAX_BPS: constant(uint256) = 10_000
# Amounts share a word with others, and sums of a few of them must not overflow.
MAX_WEI: constant(uint256) = 2**96 - 1
MAX_CREDIT: constant(uint256) = 2**192 - 1
# An Order does not name durations: without a ceiling its validator could lock the payer's money for ever.
MAX_SECONDS: constant(uint256) = 366 * 86_400
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

# --- canonical bytes --------------------------------------------------------------------------------------------------

TERMS_TAG: constant(bytes32) = keccak256("Touchstone.TERMS.v1")
TASK_TAG: constant(bytes32) = keccak256("Touchstone.TASK.v1")
COMMIT_TAG: constant(bytes32) = keccak256("Touchstone.COMMIT.v1")
ROW_TAG: constant(bytes32) = keccak256("Touchstone.ROW.v1")

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
NAME_HASH: constant(bytes32) = keccak256("Touchstone")
VERSION_HASH: constant(bytes32) = keccak256("1")
ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "Order(address validator,uint256 maxReward,uint256 maxFee,bytes32 specHash,bytes32 sourceDataHash,uint256 minN,uint256 minKPay,uint256 nonce,uint256 expiry)"
)
OFFER_TYPEHASH: constant(bytes32) = keccak256(
    "Offer(address payer,bytes32 termsHash,uint256 validatorNonce,uint256 expiry)"
)
TRANSCRIPT_TYPEHASH: constant(bytes32) = keccak256(
    "Transcript(bytes32 taskId,bytes32 modelHash,bytes32 marksHash,bytes32 repliesHash)"
)
VERDICT_TYPEHASH: constant(bytes32) = keccak256(
    "WeightsVerdict(bytes32 taskId,bytes32 modelHash,uint256 hits,uint256 coverageLowBps,bytes32 bundleHash)"
)

# --- states: the seven that time or somebody ends, then one for each row of the outcome table ----------------------------

OPEN: constant(uint256) = 1
ACCEPTED: constant(uint256) = 2
SUBMITTED: constant(uint256) = 3
CHALLENGED: constant(uint256) = 4
ANSWERED: constant(uint256) = 5
JUDGING: constant(uint256) = 6
SLASH_PENDING: constant(uint256) = 7
OPEN_LAPSED: constant(uint256) = 8
MINER_LAPSED: constant(uint256) = 9
VALIDATOR_LAPSED: constant(uint256) = 10
PAID: constant(uint256) = 11
REFUNDED: constant(uint256) = 12
SLASHED: constant(uint256) = 13
DISPUTED: constant(uint256) = 14

WEIGHTS_JUDGED: constant(uint256) = 2

# --- types ------------------------------------------------------------------------------------------------------------


struct Network:
    min_accept_seconds: uint256
    min_train_seconds: uint256
    min_submitted_seconds: uint256
    min_challenged_seconds: uint256
    min_answered_seconds: uint256
    min_judging_seconds: uint256
    min_dispute_seconds: uint256
    unstake_delay_seconds: uint256
    guardian: address


struct Terms:
    payer: address
    validator: address
    miner: address
    miner_epoch: uint256
    reward: uint256
    fee: uint256
    miner_bond: uint256
    availability_bond: uint256
    validator_bond: uint256
    answer_fee: uint256
    scheme: bytes32
    w: uint256
    n: uint256
    k_pay: uint256
    k_slash: uint256
    slashing: bool
    max_tokens: uint256
    dataset_root: bytes32
    commitment: bytes32
    spec_hash: bytes32
    weights: uint256
    min_coverage_bps: uint256
    committee_hash: bytes32
    quorum: uint256
    accept_seconds: uint256
    train_seconds: uint256
    submitted_seconds: uint256
    challenged_seconds: uint256
    answered_seconds: uint256
    judging_seconds: uint256
    dispute_seconds: uint256


struct Order:
    validator: address
    max_reward: uint256
    max_fee: uint256
    spec_hash: bytes32
    source_data_hash: bytes32
    min_n: uint256
    min_k_pay: uint256
    nonce: uint256
    expiry: uint256


struct Row:
    prompt_hash: bytes32
    head_hash: bytes32
    tail_hash: bytes32


struct Reply:
    prompt_hash: bytes32
    reply_hash: bytes32


struct Verdict:
    hits: uint256
    coverage_low_bps: uint256
    bundle_hash: bytes32
    signature: Bytes[65]


struct Task:
    state: uint256
    deadline: uint256
    evidence_key: address
    hits: uint256
    is_answered: bool


struct Account:
    stake: uint256
    locked: uint256
    epoch: uint256
    running: uint256


struct Unstaking:
    amount: uint256
    ready_at: uint256


struct Miner:
    evidence_key: address
    epoch: uint256
    stake: uint256
    locked: uint256
    running: uint256
    url: String[256]
    tls_key_hash: bytes32
    unstaking: uint256
    unstake_ready_at: uint256


# --- events: with them alone the chain part of an audit can be redone --------------------------------------------------


event Registered:
    miner: indexed(address)
    epoch: uint256
    evidence_key: address
    url: String[256]
    tls_key_hash: bytes32


event EvidenceKeyRotated:
    miner: indexed(address)
    evidence_key: address


event Deposited:
    account: indexed(address)
    amount: uint256


event Withdrawn:
    account: indexed(address)
    amount: uint256


event Staked:
    account: indexed(address)
    amount: uint256


event UnstakeRequested:
    account: indexed(address)
    amount: uint256
    ready_at: uint256


event Unstaked:
    account: indexed(address)
    amount: uint256


event Sunset:
    pass


event TaskOpened:
    task_id: indexed(bytes32)
    validator: indexed(address)
    miner: indexed(address)
    validator_nonce: uint256
    terms: Terms


event OrderConsumed:
    task_id: indexed(bytes32)
    payer: indexed(address)
    nonce: uint256
    source_data_hash: bytes32


event OrderCancelled:
    payer: indexed(address)
    nonce: uint256


event TaskAccepted:
    task_id: indexed(bytes32)
    evidence_key: address


event ModelSubmitted:
    task_id: indexed(bytes32)
    model_hash: bytes32


event TaskSettled:
    task_id: indexed(bytes32)
    salt: bytes32
    rows: DynArray[Row, MAX_N]
    replies: DynArray[bytes32, MAX_N]
    signature: Bytes[65]
    hits: uint256
    bundle_hash: bytes32


event Challenged:
    task_id: indexed(bytes32)
    leaves: DynArray[bytes32, MAX_N]


event Answered:
    task_id: indexed(bytes32)
    replies: DynArray[bytes32, MAX_N]


event Judged:
    task_id: indexed(bytes32)
    signer: indexed(address)
    hits: uint256
    coverage_low_bps: uint256
    bundle_hash: bytes32
    signature: Bytes[65]


event Disputed:
    task_id: indexed(bytes32)
    mark: Row
    other: Row
    proof: DynArray[bytes32, MAX_PROOF]


event TaskClosed:
    task_id: indexed(bytes32)
    outcome: uint256
    to_payer: uint256
    to_validator: uint256
    to_miner: uint256
    burned: uint256


# --- storage ----------------------------------------------------------------------------------------------------------

network: public(immutable(Network))
# Where the contract was deployed. Signatures and commitments count on the live chain id alone; task ids keep this one,
# so that a chain that splits off under another id can still end the tasks that it inherits.
BIRTH_CHAIN_ID: immutable(uint256)
is_sunset: public(bool)

# Packed by hand, low bits first: credit 192 | validator nonce 64. Opening a task changes both.
purses: HashMap[address, uint256]
# By validator: a copier burns a commitment for itself alone, never for the validator that it copied.
is_commitment_used: public(HashMap[address, HashMap[bytes32, bool]])
order_nonces: HashMap[address, HashMap[uint256, uint256]]

# Packed by hand, low bits first: stake 96 | locked 96 | epoch 32 | running 32.
accounts: HashMap[address, uint256]
unstakings: HashMap[address, Unstaking]
evidence_keys: HashMap[address, address]
urls: HashMap[address, String[256]]
tls_key_hashes: HashMap[address, bytes32]

# Packed by hand, low bits first: state 8 | hits 8 | is_answered 8 | deadline 40 | evidence key 160.
tasks: HashMap[bytes32, uint256]
model_hash: public(HashMap[bytes32, bytes32])
# Challenged: the marks hash of the disclosed leaves. Answered: that and the replies, hashed. SlashPending: the marks hash.
evidence_hash: public(HashMap[bytes32, bytes32])


@deploy
def __init__(parameters: Network):
    """
    @notice Fixes the network's parameters for ever.
    @param parameters Floors of the seven durations, the delay of `unstake` (seconds), and who may `sunset`.
    """
    for duration: uint256 in [
        parameters.min_accept_seconds,
        parameters.min_train_seconds,
        parameters.min_submitted_seconds,
        parameters.min_challenged_seconds,
        parameters.min_answered_seconds,
        parameters.min_judging_seconds,
        parameters.min_dispute_seconds,
        parameters.unstake_delay_seconds,
    ]:
        self._check(duration <= MAX_SECONDS, "network: duration too long")
    network = parameters
    BIRTH_CHAIN_ID = chain.id


@external
@payable
def __default__():
    # Ether that nobody is credited for would be lost: it is refused instead.
    raise "touchstone: no such function"


# --- accounts ---------------------------------------------------------------------------------------------------------


@external
def register(evidence_key: address, url: String[256], tls_key_hash: bytes32):
    """
    @notice Registers the caller as a miner, under a new epoch; older commitments can no longer reach it.
    @param evidence_key Signs transcripts; a plain secp256k1 key, never a contract.
    @param url Where the validator finds the miner.
    @param tls_key_hash SHA-256 of the TLS public key (SPKI); zero only where plain HTTP is allowed.
    """
    self._check(evidence_key != empty(address), "register: no evidence key")
    account: Account = self._account(msg.sender)
    self._check(account.running == 0, "register: a task is running")
    account.epoch += 1
    self._store_account(msg.sender, account)
    self.evidence_keys[msg.sender] = evidence_key
    self.urls[msg.sender] = url
    self.tls_key_hashes[msg.sender] = tls_key_hash
    log Registered(
        miner=msg.sender, epoch=account.epoch, evidence_key=evidence_key, url=url, tls_key_hash=tls_key_hash
    )


@external
def rotate_evidence_key(evidence_key: address):
    """
    @notice Replaces the caller's evidence key; the epoch stays.
    """
    self._check(evidence_key != empty(address), "rotate: no evidence key")
    account: Account = self._account(msg.sender)
    self._check(account.epoch != 0, "rotate: not registered")
    self._check(account.running == 0, "rotate: a task is running")
    self.evidence_keys[msg.sender] = evidence_key
    log EvidenceKeyRotated(miner=msg.sender, evidence_key=evidence_key)


@external
@payable
def deposit():
    """
    @notice Credits the caller with the ether sent.
    """
    self._check(msg.value <= MAX_WEI, "deposit: amount too large")
    self._credit(msg.sender, msg.value)
    log Deposited(account=msg.sender, amount=msg.value)


@external
def withdraw(amount: uint256):
    """
    @notice Sends `amount` of the caller's credit to the caller.
    """
    self._debit(msg.sender, amount)
    log Withdrawn(account=msg.sender, amount=amount)
    self._send(msg.sender, amount)


@external
def stake(amount: uint256):
    """
    @notice Moves `amount` from the caller's credit to its stake. Any address may stake.
    """
    self._debit(msg.sender, amount)
    account: Account = self._account(msg.sender)
    account.stake += amount
    self._check(account.stake <= MAX_WEI, "stake: amount too large")
    self._store_account(msg.sender, account)
    log Staked(account=msg.sender, amount=amount)


@external
def request_unstake(amount: uint256):
    """
    @notice Takes `amount` out of the caller's free stake and starts the delay, anew for what is already on its way.
    """
    account: Account = self._account(msg.sender)
    self._check(amount <= account.stake - account.locked, "request_unstake: over free stake")
    account.stake -= amount
    self._store_account(msg.sender, account)
    unstaking: Unstaking = self.unstakings[msg.sender]
    unstaking.amount += amount
    unstaking.ready_at = block.timestamp + network.unstake_delay_seconds
    self.unstakings[msg.sender] = unstaking
    log UnstakeRequested(account=msg.sender, amount=amount, ready_at=unstaking.ready_at)


@external
def unstake():
    """
    @notice Moves the stake whose delay is over to the caller's credit.
    """
    unstaking: Unstaking = self.unstakings[msg.sender]
    self._check(unstaking.amount != 0, "unstake: nothing requested")
    self._check(block.timestamp >= unstaking.ready_at, "unstake: too early")
    self.unstakings[msg.sender] = empty(Unstaking)
    self._credit(msg.sender, unstaking.amount)
    log Unstaked(account=msg.sender, amount=unstaking.amount)


@external
def sunset():
    """
    @notice Stops new tasks for ever; everything else goes on.
    """
    self._check(msg.sender == network.guardian, "sunset: only the guardian")
    self._check(not self.is_sunset, "sunset: already set")
    self.is_sunset = True
    log Sunset()


# --- opening ----------------------------------------------------------------------------------------------------------


@external
def open_task(terms: Terms, order: Order, order_signature: Bytes[65]):
    """
    @notice The validator opens a task under the payer's signed Order.
    """
    self._check(msg.sender == terms.validator, "open_task: only the validator")
    self._check(order.validator == terms.validator, "open_task: another's order")
    self._check(block.timestamp <= order.expiry, "open_task: order expired")
    self._check(terms.reward <= order.max_reward, "open_task: reward over the order")
    self._check(terms.fee <= order.max_fee, "open_task: fee over the order")
    self._check(terms.spec_hash == order.spec_hash, "open_task: not the ordered spec")
    self._check(terms.n >= order.min_n, "open_task: n below the order")
    self._check(terms.k_pay >= order.min_k_pay, "open_task: k_pay below the order")
    self._check_signer(
        keccak256(abi_encode(ORDER_TYPEHASH, order)), order_signature, terms.payer
    )
    self._use_order_nonce(terms.payer, order.nonce)
    task_id: bytes32 = self._open(terms)
    log OrderConsumed(
        task_id=task_id, payer=terms.payer, nonce=order.nonce, source_data_hash=order.source_data_hash
    )


@external
def cancel_order(nonce: uint256):
    """
    @notice The payer takes back whatever Order of its own has this nonce, signed already or not.
    """
    self._use_order_nonce(msg.sender, nonce)
    log OrderCancelled(payer=msg.sender, nonce=nonce)


@external
def open_task_with_offer(terms: Terms, expiry: uint256, offer_signature: Bytes[65]):
    """
    @notice The payer opens a task under the validator's signed Offer for these terms and its next nonce.
    """
    self._check(msg.sender == terms.payer, "open_task: only the payer")
    self._check(block.timestamp <= expiry, "open_task: offer expired")
    self._check_signer(
        keccak256(
            abi_encode(
                OFFER_TYPEHASH, terms.payer, self._terms_hash(terms), self.purses[terms.validator] >> 192, expiry
            )
        ),
        offer_signature,
        terms.validator,
    )
    self._open(terms)


@internal
def _use_order_nonce(payer: address, nonce: uint256):
    used: uint256 = self.order_nonces[payer][nonce >> 8]
    bit: uint256 = 1 << (nonce & 255)
    self._check(used & bit == 0, "order: nonce used")
    self.order_nonces[payer][nonce >> 8] = used | bit


@internal
def _open(terms: Terms) -> bytes32:
    self._check(not self.is_sunset, "open_task: sunset")
    self._check_terms(terms)
    self._check(terms.miner_epoch != 0, "open_task: epoch zero")
    self._check(terms.miner_epoch == self._account(terms.miner).epoch, "open_task: not the miner's epoch")
    self._check(not self.is_commitment_used[terms.validator][terms.commitment], "open_task: commitment used")
    self.is_commitment_used[terms.validator][terms.commitment] = True

    nonce: uint256 = self.purses[terms.validator] >> 192
    self.purses[terms.validator] += 1 << 192
    task_id: bytes32 = self._task_id(terms, nonce)
    self._debit(terms.payer, terms.reward + terms.fee)
    self._debit(terms.validator, terms.validator_bond)
    self._enter(task_id, empty(Task), OPEN, terms.accept_seconds)
    log TaskOpened(
        task_id=task_id, validator=terms.validator, miner=terms.miner, validator_nonce=nonce, terms=terms
    )
    return task_id


@internal
@view
def _check_terms(terms: Terms):
    self._check(terms.w >= 1 and terms.w <= MAX_W, "terms: w")
    self._check(terms.n >= MIN_N and terms.n <= MAX_N, "terms: n")
    self._check(terms.k_pay <= terms.n and 2 * terms.n <= 3 * terms.k_pay, "terms: k_pay")
    self._check(terms.k_slash <= terms.n and 8 * terms.k_slash <= terms.n, "terms: k_slash")
    # A word takes a token at least: under fewer, no model could ever hit.
    self._check(terms.max_tokens >= terms.w, "terms: max_tokens")
    self._check(terms.weights <= WEIGHTS_JUDGED, "terms: weights")
    self._check(terms.min_coverage_bps <= MAX_BPS, "terms: min_coverage_bps")
    self._check(terms.quorum <= MAX_COMMITTEE, "terms: quorum")
    self._check(terms.weights != WEIGHTS_JUDGED or terms.quorum != 0, "terms: quorum")
    for amount: uint256 in [
        terms.reward, terms.fee, terms.miner_bond, terms.availability_bond, terms.validator_bond, terms.answer_fee
    ]:
        self._check(amount <= MAX_WEI, "terms: amount too large")
    self._check(terms.validator_bond >= terms.reward + terms.answer_fee, "terms: validator_bond")
    self._check(2 * terms.availability_bond >= terms.reward, "terms: availability_bond")
    self._check_duration(terms.accept_seconds, network.min_accept_seconds)
    self._check_duration(terms.train_seconds, network.min_train_seconds)
    self._check_duration(terms.submitted_seconds, network.min_submitted_seconds)
    self._check_duration(terms.challenged_seconds, network.min_challenged_seconds)
    self._check_duration(terms.answered_seconds, network.min_answered_seconds)
    self._check_duration(terms.judging_seconds, network.min_judging_seconds)
    self._check_duration(terms.dispute_seconds, network.min_dispute_seconds)


@internal
@pure
def _check_duration(duration: uint256, minimum: uint256):
    self._check(duration >= minimum, "terms: duration too short")
    self._check(duration <= MAX_SECONDS, "terms: duration too long")


# --- the task's course ------------------------------------------------------------------------------------------------


@external
def accept(terms: Terms, validator_nonce: uint256, dataset_root: bytes32):
    """
    @notice The miner's receipt for the data: locks its bonds, freezes its evidence key and epoch.
    @param dataset_root The root that the miner computed itself from the bytes that it got.
    """
    self._check(msg.sender == terms.miner, "accept: only the miner")
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task_in(task_id, OPEN)
    self._check(dataset_root == terms.dataset_root, "accept: another dataset")
    account: Account = self._account(msg.sender)
    self._check(account.epoch == terms.miner_epoch, "accept: another epoch")
    bonds: uint256 = terms.miner_bond + terms.availability_bond
    self._check(bonds <= account.stake - account.locked, "accept: bonds over free stake")
    account.locked += bonds
    account.running += 1
    self._store_account(msg.sender, account)
    task.evidence_key = self.evidence_keys[msg.sender]
    self._enter(task_id, task, ACCEPTED, terms.train_seconds)
    log TaskAccepted(task_id=task_id, evidence_key=task.evidence_key)


@external
def submit(terms: Terms, validator_nonce: uint256, model_hash: bytes32):
    """
    @notice The miner fixes the model before it is probed.
    """
    self._check(msg.sender == terms.miner, "submit: only the miner")
    self._check(model_hash != empty(bytes32), "submit: no model hash")
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task_in(task_id, ACCEPTED)
    self.model_hash[task_id] = model_hash
    self._enter(task_id, task, SUBMITTED, terms.submitted_seconds)
    log ModelSubmitted(task_id=task_id, model_hash=model_hash)


@external
def challenge(terms: Terms, validator_nonce: uint256, leaves: DynArray[bytes32, MAX_N]):
    """
    @notice The validator asks for the replies on chain, where the transcript is withheld. Discloses leaves only.
    @dev    The leaves are not compared with the commitment here: with others the validator can never settle.
    """
    self._check(msg.sender == terms.validator, "challenge: only the validator")
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task_in(task_id, SUBMITTED)
    self._check(len(leaves) == terms.n, "challenge: not n leaves")
    last: bytes32 = empty(bytes32)
    for leaf: bytes32 in leaves:
        self._check(convert(leaf, uint256) > convert(last, uint256), "challenge: leaves not ascending")
        last = leaf
    self.evidence_hash[task_id] = keccak256(abi_encode(leaves))
    self._enter(task_id, task, CHALLENGED, terms.challenged_seconds)
    log Challenged(task_id=task_id, leaves=leaves)


@external
def answer(terms: Terms, validator_nonce: uint256, replies: DynArray[bytes32, MAX_N]):
    """
    @notice The miner's replies to the disclosed leaves, in their order; the call stands for its signature.
    @param replies The n reply hashes; zero for a miss.
    """
    self._check(msg.sender == terms.miner, "answer: only the miner")
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task_in(task_id, CHALLENGED)
    self._check(len(replies) == terms.n, "answer: not n replies")
    self.evidence_hash[task_id] = keccak256(abi_encode(self.evidence_hash[task_id], replies))
    task.is_answered = True
    self._enter(task_id, task, ANSWERED, terms.answered_seconds)
    self._credit(msg.sender, terms.answer_fee)
    log Answered(task_id=task_id, replies=replies)


@external
def settle(
    terms: Terms,
    validator_nonce: uint256,
    salt: bytes32,
    rows: DynArray[Row, MAX_N],
    replies: DynArray[bytes32, MAX_N],
    signature: Bytes[65],
    bundle_hash: bytes32,
    proofs: DynArray[DynArray[bytes32, MAX_PROOF], MAX_N],
):
    """
    @notice The validator opens the commitment; the contract counts the hits and applies the zones.
    @dev    The proofs are last, and the work is in another frame, so that a settlement without proofs does not pay for
            the 50 kB of memory that they would take.
    @param rows The n marks, their leaves strictly ascending.
    @param replies The reply hash to each row's prompt.
    @param signature The evidence key's, over the Transcript; empty after an `answer`.
    @param bundle_hash Anchors the evidence bundle.
    @param proofs One for each row, or none: they protect the miner, and a paid one needs no protection.
    """
    if len(proofs) == 0:
        self._settle(terms, validator_nonce, salt, rows, replies, signature, bundle_hash, False)
    else:
        self._check(len(proofs) == len(rows), "settle: not a proof for each row")
        for i: uint256 in range(len(rows), bound=MAX_N):
            self._check(
                self._is_in_tree(terms.dataset_root, self._row_leaf(rows[i]), proofs[i]), "settle: row not in the dataset"
            )
        self._settle(terms, validator_nonce, salt, rows, replies, signature, bundle_hash, True)


@internal
def _settle(
    terms: Terms,
    validator_nonce: uint256,
    salt: bytes32,
    rows: DynArray[Row, MAX_N],
    replies: DynArray[bytes32, MAX_N],
    signature: Bytes[65],
    bundle_hash: bytes32,
    is_proved: bool,
):
    self._check(msg.sender == terms.validator, "settle: only the validator")
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task(task_id)
    self._check(task.state == SUBMITTED or task.state == ANSWERED, "settle: not in this state")
    self._check(block.timestamp <= task.deadline, "settle: deadline passed")
    self._check(len(rows) == terms.n, "settle: not n rows")
    self._check(len(replies) == terms.n, "settle: not n replies")

    leaves: DynArray[bytes32, MAX_N] = []
    transcript: DynArray[Reply, MAX_N] = []
    last: bytes32 = empty(bytes32)
    for i: uint256 in range(terms.n, bound=MAX_N):
        leaf: bytes32 = self._row_leaf(rows[i])
        self._check(convert(leaf, uint256) > convert(last, uint256), "settle: leaves not ascending")
        last = leaf
        leaves.append(leaf)
        transcript.append(Reply(prompt_hash=rows[i].prompt_hash, reply_hash=replies[i]))
        if replies[i] == rows[i].head_hash and replies[i] != empty(bytes32):
            task.hits += 1

    marks_hash: bytes32 = keccak256(abi_encode(leaves))
    commitment: bytes32 = keccak256(
        abi_encode(
            COMMIT_TAG,
            chain.id,
            self,
            terms.validator,
            terms.miner,
            terms.miner_epoch,
            terms.dataset_root,
            marks_hash,
            salt,
        )
    )
    self._check(commitment == terms.commitment, "settle: commitment does not open")

    if task.state == SUBMITTED:
        replies_hash: bytes32 = keccak256(abi_encode(transcript))
        self._check_signer(
            keccak256(abi_encode(TRANSCRIPT_TYPEHASH, task_id, self.model_hash[task_id], marks_hash, replies_hash)),
            signature,
            task.evidence_key,
        )
    else:
        self._check(len(signature) == 0, "settle: signature not empty")
        answered: bytes32 = keccak256(abi_encode(marks_hash, replies))
        self._check(self.evidence_hash[task_id] == answered, "settle: not the answered replies")

    is_hit: bool = task.hits >= terms.k_pay
    is_judged: bool = terms.weights == WEIGHTS_JUDGED
    self._check(is_proved or (is_hit and not is_judged), "settle: rows not proved")
    log TaskSettled(
        task_id=task_id,
        salt=salt,
        rows=rows,
        replies=replies,
        signature=signature,
        hits=task.hits,
        bundle_hash=bundle_hash,
    )
    if is_hit and is_judged:
        self._enter(task_id, task, JUDGING, terms.judging_seconds)
    elif is_hit:
        self._close(task_id, task, terms, PAID)
    elif task.hits <= terms.k_slash and terms.slashing:
        self.evidence_hash[task_id] = marks_hash
        self._enter(task_id, task, SLASH_PENDING, terms.dispute_seconds)
    else:
        self._close(task_id, task, terms, REFUNDED)


@external
def judge(
    terms: Terms,
    validator_nonce: uint256,
    committee: DynArray[address, MAX_COMMITTEE],
    verdicts: DynArray[Verdict, MAX_COMMITTEE],
):
    """
    @notice Anyone brings a quorum of the committee's signatures that the weights hit and cover enough: paid.
    @param committee The members whose hash the terms name.
    @param verdicts Signed by distinct members, ascending by signer.
    """
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task_in(task_id, JUDGING)
    self._check(keccak256(abi_encode(committee)) == terms.committee_hash, "judge: another committee")
    self._check(len(verdicts) >= terms.quorum, "judge: no quorum")
    last: address = empty(address)
    for verdict: Verdict in verdicts:
        self._check(verdict.hits >= terms.k_pay, "judge: hits under k_pay")
        self._check(verdict.coverage_low_bps >= terms.min_coverage_bps, "judge: coverage too low")
        signer: address = self._recover(
            keccak256(
                abi_encode(
                    VERDICT_TYPEHASH,
                    task_id,
                    self.model_hash[task_id],
                    verdict.hits,
                    verdict.coverage_low_bps,
                    verdict.bundle_hash,
                )
            ),
            verdict.signature,
        )
        self._check(convert(signer, uint256) > convert(last, uint256), "judge: signers not ascending")
        self._check(signer in committee, "judge: not a committee member")
        last = signer
        log Judged(
            task_id=task_id,
            signer=signer,
            hits=verdict.hits,
            coverage_low_bps=verdict.coverage_low_bps,
            bundle_hash=verdict.bundle_hash,
            signature=verdict.signature,
        )
    self._close(task_id, task, terms, PAID)


@external
def dispute(
    terms: Terms,
    validator_nonce: uint256,
    leaves: DynArray[bytes32, MAX_N],
    mark: Row,
    other: Row,
    proof: DynArray[bytes32, MAX_PROOF],
):
    """
    @notice Anyone shows that the dataset contradicts a mark: same prompt, another head. Voids the slash.
    @dev    The mark was proved in the dataset by `settle`, so only the other row needs a proof.
    @param leaves All the settled marks' leaves.
    """
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task_in(task_id, SLASH_PENDING)
    self._check(keccak256(abi_encode(leaves)) == self.evidence_hash[task_id], "dispute: not the settled marks")
    self._check(self._row_leaf(mark) in leaves, "dispute: row is not a mark")
    self._check(self._is_in_tree(terms.dataset_root, self._row_leaf(other), proof), "dispute: row not in the dataset")
    self._check(mark.prompt_hash == other.prompt_hash, "dispute: different prompts")
    self._check(mark.head_hash != other.head_hash, "dispute: same head")
    log Disputed(task_id=task_id, mark=mark, other=other, proof=proof)
    self._close(task_id, task, terms, DISPUTED)


@external
def poke(terms: Terms, validator_nonce: uint256):
    """
    @notice Anyone ends a state whose deadline has passed, by the default of that state.
    """
    task_id: bytes32 = self._task_id(terms, validator_nonce)
    task: Task = self._task(task_id)
    self._check(task.state >= OPEN and task.state <= SLASH_PENDING, "poke: not in this state")
    self._check(block.timestamp > task.deadline, "poke: too early")
    outcome: uint256 = SLASHED
    if task.state == OPEN:
        outcome = OPEN_LAPSED
    elif task.state == ACCEPTED or task.state == CHALLENGED:
        outcome = MINER_LAPSED
    elif task.state == SUBMITTED or task.state == ANSWERED:
        outcome = VALIDATOR_LAPSED
    elif task.state == JUDGING:
        outcome = REFUNDED
    self._close(task_id, task, terms, outcome)


@internal
def _close(task_id: bytes32, closing: Task, terms: Terms, outcome: uint256):
    """
    @dev The outcome table, and nothing else, says who gets what. The only call out is the burn, and it is last.
    """
    task: Task = closing
    to_payer: uint256 = terms.reward
    to_validator: uint256 = terms.validator_bond
    to_miner: uint256 = 0
    bond_burned: uint256 = 0
    stake_burned: uint256 = 0
    if task.is_answered:
        to_validator -= terms.answer_fee

    if outcome == PAID:
        to_payer = 0
        to_miner = terms.reward
    elif outcome == SLASHED:
        stake_burned = terms.miner_bond
    elif outcome == MINER_LAPSED:
        stake_burned = terms.availability_bond
    elif outcome == VALIDATOR_LAPSED or outcome == DISPUTED:
        to_miner = terms.reward
        bond_burned = to_validator - terms.reward
        to_validator = 0

    if outcome == PAID or outcome == REFUNDED or outcome == SLASHED:
        to_validator += terms.fee
    else:
        to_payer += terms.fee

    task.state = outcome
    self._store_task(task_id, task)
    if outcome != OPEN_LAPSED:
        account: Account = self._account(terms.miner)
        account.locked -= terms.miner_bond + terms.availability_bond
        account.stake -= stake_burned
        account.running -= 1
        self._store_account(terms.miner, account)
    self._credit(terms.payer, to_payer)
    self._credit(terms.validator, to_validator)
    self._credit(terms.miner, to_miner)
    burned: uint256 = bond_burned + stake_burned
    log TaskClosed(
        task_id=task_id,
        outcome=outcome,
        to_payer=to_payer,
        to_validator=to_validator,
        to_miner=to_miner,
        burned=burned,
    )
    if burned != 0:
        self._send(empty(address), burned)


# --- views ------------------------------------------------------------------------------------------------------------


@external
@view
def task_state(task_id: bytes32) -> Task:
    """
    @notice What changes of a task. State 0 is none; 1-7 are running; 8-14 are the outcomes.
    """
    return self._task(task_id)


@external
@view
def miners(account: address) -> Miner:
    """
    @notice Registration and stake of any address; epoch 0 is never registered.
    """
    packed: Account = self._account(account)
    unstaking: Unstaking = self.unstakings[account]
    return Miner(
        evidence_key=self.evidence_keys[account],
        epoch=packed.epoch,
        stake=packed.stake,
        locked=packed.locked,
        running=packed.running,
        url=self.urls[account],
        tls_key_hash=self.tls_key_hashes[account],
        unstaking=unstaking.amount,
        unstake_ready_at=unstaking.ready_at,
    )


@external
@view
def credits(account: address) -> uint256:
    """
    @notice What the account can withdraw or use, in wei.
    """
    return self.purses[account] & MAX_CREDIT


@external
@view
def validator_nonce(account: address) -> uint256:
    """
    @notice The nonce of the validator's next task, from 0.
    """
    return self.purses[account] >> 192


@external
@view
def is_order_nonce_used(payer: address, nonce: uint256) -> bool:
    return self.order_nonces[payer][nonce >> 8] & (1 << (nonce & 255)) != 0


@external
@view
def domain_separator() -> bytes32:
    return self._domain_separator()


# --- tasks and accounts, packed ---------------------------------------------------------------------------------------


@internal
@view
def _task(task_id: bytes32) -> Task:
    word: uint256 = self.tasks[task_id]
    return Task(
        state=word & 255,
        deadline=(word >> 24) & (2**40 - 1),
        evidence_key=convert(word >> 64, address),
        hits=(word >> 8) & 255,
        is_answered=(word >> 16) & 255 != 0,
    )


@internal
@view
def _task_in(task_id: bytes32, state: uint256) -> Task:
    task: Task = self._task(task_id)
    self._check(task.state == state, "task: not in this state")
    self._check(block.timestamp <= task.deadline, "task: deadline passed")
    return task


@internal
def _enter(task_id: bytes32, entering: Task, state: uint256, duration: uint256):
    task: Task = entering
    task.state = state
    task.deadline = block.timestamp + duration
    self._store_task(task_id, task)


@internal
def _store_task(task_id: bytes32, task: Task):
    self.tasks[task_id] = (
        task.state
        | (task.hits << 8)
        | (convert(task.is_answered, uint256) << 16)
        | (task.deadline << 24)
        | (convert(task.evidence_key, uint256) << 64)
    )


@internal
@view
def _account(owner: address) -> Account:
    word: uint256 = self.accounts[owner]
    return Account(
        stake=word & MAX_WEI,
        locked=(word >> 96) & MAX_WEI,
        epoch=(word >> 192) & (2**32 - 1),
        running=word >> 224,
    )


@internal
def _store_account(owner: address, account: Account):
    self.accounts[owner] = account.stake | (account.locked << 96) | (account.epoch << 192) | (account.running << 224)


@internal
def _credit(owner: address, amount: uint256):
    if amount != 0:
        self.purses[owner] += amount


@internal
def _debit(owner: address, amount: uint256):
    purse: uint256 = self.purses[owner]
    self._check(amount <= purse & MAX_CREDIT, "credits: too little")
    self.purses[owner] = purse - amount


@internal
def _send(to: address, amount: uint256):
    self._check(raw_call(to, b"", value=amount, revert_on_failure=False), "send: receiver reverted")


@internal
@pure
def _check(ok: bool, reason: String[32]):
    # An assert with its reason in place takes 123 bytes of code; this call takes about 60, and there are 85 of them.
    assert ok, reason


# --- hashes and signatures --------------------------------------------------------------------------------------------


@internal
@pure
def _terms_hash(terms: Terms) -> bytes32:
    return keccak256(abi_encode(TERMS_TAG, terms))


@internal
@view
def _task_id(terms: Terms, validator_nonce: uint256) -> bytes32:
    return keccak256(
        abi_encode(TASK_TAG, BIRTH_CHAIN_ID, self, terms.validator, validator_nonce, self._terms_hash(terms))
    )


@internal
@pure
def _row_leaf(row: Row) -> bytes32:
    return keccak256(abi_encode(ROW_TAG, row))


@internal
@pure
def _is_in_tree(root: bytes32, leaf: bytes32, proof: DynArray[bytes32, MAX_PROOF]) -> bool:
    node: bytes32 = keccak256(leaf)
    for sibling: bytes32 in proof:
        if convert(node, uint256) < convert(sibling, uint256):
            node = keccak256(concat(node, sibling))
        else:
            node = keccak256(concat(sibling, node))
    return node == root


@internal
@view
def _domain_separator() -> bytes32:
    # Never cached: after a chain split the old chain's signatures must not count.
    return keccak256(abi_encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, chain.id, self))


@internal
@view
def _check_signer(struct_hash: bytes32, signature: Bytes[65], expected: address):
    self._check(self._recover(struct_hash, signature) == expected, "signature: another signer")


@internal
@view
def _recover(struct_hash: bytes32, signature: Bytes[65]) -> address:
    """
    @dev Plain ecrecover whatever code the signer's address has; one valid encoding for each signature.
    """
    self._check(len(signature) == 65, "signature: not 65 bytes")
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    self._check(s <= HALF_CURVE_ORDER, "signature: high s")
    self._check(v == 27 or v == 28, "signature: v")
    signer: address = ecrecover(
        keccak256(concat(x"1901", self._domain_separator(), struct_hash)), v, r, s
    )
    self._check(signer != empty(address), "signature: invalid")
    return signer
