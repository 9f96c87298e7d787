"""Every method against its paper's algorithm, written again in dense matrices that share nothing with ours."""
