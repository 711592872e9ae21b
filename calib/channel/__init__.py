"""What only known waveforms show: channel delays and frequency responses."""
