"""What the jobs of a plan take, before any of them runs: time, memory and disk, from headers and measured rates."""
