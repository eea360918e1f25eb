// EventPipeline
