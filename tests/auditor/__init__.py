"""The auditor: a program of its own that looks at a stack from outside and says which promise was broken.

It shares no code with the product, nor with the sandbox: it reads the vendors' state, calls and deliveries over HTTP,
the streams in Redis and the tables in Postgres, and has its own idea of what is mapped and what must come out. It
looks once the system claims to be quiet.
"""
