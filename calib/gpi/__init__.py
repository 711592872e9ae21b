"""Gain-phase learning from unlabelled OFDM channel responses (Mateos-Ramos et al., ICASSP 2025)."""
