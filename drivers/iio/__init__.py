"""Analog Devices boards through libiio and pyadi-iio."""
