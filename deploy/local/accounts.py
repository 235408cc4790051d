"""Whose keys a local network has: accounts of the public test mnemonic, funded by anvil, worthless anywhere else."""

from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

from validator.edges.keys import DEV_HD_PATH, DEV_MNEMONIC

DEPLOYER, VALIDATOR, PAYER, MINER_1, MINER_2, EVIDENCE_1, EVIDENCE_2 = range(7)


def private_key(account: int) -> str:
    """In hex."""
    return "0x" + key_from_seed(seed_from_mnemonic(DEV_MNEMONIC, ""), f"{DEV_HD_PATH}/{account}").hex()
