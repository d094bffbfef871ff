"""The process that holds the model; nothing here is imported by the server.

work       the process: orders in, answers out
models     the one model that is loaded, and what is made with it
families   what the form of each family is made of
"""
