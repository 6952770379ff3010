// The C library's <assert.h>, which has no include guard, without its declaration of `__assert_fail`, which an author's
// macros could affect. webmesh.hpp has that declaration.
#undef assert
#ifdef NDEBUG
#define assert(...) ((void)0)
#else
#define assert(...) ((__VA_ARGS__) ? (void)0 : __assert_fail(#__VA_ARGS__, __FILE__, __LINE__, __func__))
#endif
