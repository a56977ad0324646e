"""What a search would do and take, said without beginning it: `hydra.sweeper.preview=true`."""
