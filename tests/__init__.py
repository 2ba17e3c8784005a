"""The tests, in the folders of the code that they test. Tests that need real servers are marked `integration`."""
