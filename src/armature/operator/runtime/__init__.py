"""What every controller stands on: queue, passes, patches, conditions, metrics, and the process around them."""
