"""Whether the daemon gets on, and who is told: progress, event-loop lag, gauges, the service manager."""
