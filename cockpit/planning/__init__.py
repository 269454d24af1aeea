"""What a run will take, before it is begun: arithmetic on a profile and a device. No torch."""
