"""What one capture shows of each axis that a NAT's profile declares."""
