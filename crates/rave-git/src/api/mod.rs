//! The repository part of the API, in GitLab's shapes.
