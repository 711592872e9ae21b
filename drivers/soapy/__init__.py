"""Receivers and transmitters behind SoapySDR."""
