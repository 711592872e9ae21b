"""One file per learning method; `calib.registry` names them."""
