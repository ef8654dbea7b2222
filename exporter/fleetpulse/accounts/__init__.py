"""Group accounts: what each did, whether it is online, the way of an activity, the metrics that clients watch."""
