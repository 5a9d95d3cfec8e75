"""The commands of ``vist3a``, beside ``kedro run``: same parameters, same names."""
