"""The admin service: what operators and programs ask of one server, over HTTPS and a local socket.

It speaks to the gateway through its control socket only, owns a database of its own (users, tokens, audit), and goes on
while the gateway is down: reads give what was known last and say so, changes are refused.
"""
