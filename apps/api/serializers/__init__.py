"""The bodies of the contract, in both directions; the names of fields are the wire's."""
