// Tests/EventPipelineTests/
