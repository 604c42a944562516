"""Why a chart is not there."""

NO_SAMPLES = "There are no samples: the run is shorter than the scenario's series_interval_s, or that is null."


class Nothing(Exception):
    """There is nothing to draw; the message tells a reader of the report why."""
