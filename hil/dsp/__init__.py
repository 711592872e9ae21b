"""Array processing on frames: covariance, DoA, source count, PSD, correction. numpy and scipy only."""
