"""The tests of utvm; they mirror src/utvm/, and share what is imported as ``tests.<module>``."""
