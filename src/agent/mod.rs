//! The node agent: build, bind, run.
