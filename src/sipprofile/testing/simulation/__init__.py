"""The whole service in a deterministic simulation: real core, real store, virtual time, network and applications.

``python -m sipprofile.testing.simulation --seed N --trace`` runs one seed and prints what happens;
:func:`~sipprofile.testing.simulation.run.simulate` does so in a test. It needs ``sipprofile[server]``.
"""
