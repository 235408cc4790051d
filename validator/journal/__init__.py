"""The journal: what happened and what is to be done, written before it is done. The only importer of the database.

| file | what it holds |
|---|---|
| `journal.py` | events and effects, and what they tell: states, stories, what is left to do; cursor and requests |
| `transactions.py` | nonces and signed transactions: what a transaction manager must not forget |
| `store.py` | one validator's database: opening and checking it, transactions, the protective stop |
| `databases.py` | what differs between an SQLite file and a PostgreSQL server |
| `tables.py`, `migrations.py` | the schema, and the way to it from older ones |
| `sealing.py`, `codec.py` | rows that nobody can read or alter; what they hold, as bytes |
"""

from validator.journal.journal import Journal, RequestRow
from validator.journal.tables import Cursor, Identity

__all__ = ["Cursor", "Identity", "Journal", "RequestRow"]
