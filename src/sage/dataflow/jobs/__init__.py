"""The job manager: takes pipelines, has each run by a process of its own, outlives the client."""
