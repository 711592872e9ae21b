"""SoapyRemote server over a simulated array: the stock SoapySDR client (`driver=remote`) opens it as a device."""
