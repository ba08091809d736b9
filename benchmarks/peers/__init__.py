"""Other codecs beside this one."""
