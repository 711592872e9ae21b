"""Hardware-in-the-loop application for coherent multichannel SDR arrays."""

__version__ = "0.1.0"
