"""What tests of every kind share: the loopback guard, the parts that a machine may lack, the run's summary."""
