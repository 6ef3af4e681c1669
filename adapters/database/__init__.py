"""The database: where it is, its schema and migrations, and the stores on SQLite and on PostgreSQL.

`open.open_database` is the way in. What is stored, and what it means, is not for this package to know.
"""
