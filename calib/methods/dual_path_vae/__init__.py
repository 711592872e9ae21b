"""Dual-path knowledge-aware VAE (Guo, Xiao, Chen): directions and channels of several users, without labels."""
