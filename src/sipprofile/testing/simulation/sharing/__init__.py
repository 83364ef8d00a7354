"""One registration shared by many: applications with claims, scripted peers, and what is promised to both.

:func:`~sipprofile.testing.simulation.sharing.run.share` runs one seed;
``python -m sipprofile.testing.simulation --shared --seed N --trace`` prints what happens.
"""
