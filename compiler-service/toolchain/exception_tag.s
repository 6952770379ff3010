# The tag of C++ exceptions, which every `throw` and `catch` names: one value, the address of the exception object.
# LLVM keeps it with its compiler runtime, and Debian's build of that leaves it out.
	.globl	__cpp_exception
	.tagtype	__cpp_exception i32
__cpp_exception:
