// The C library's <assert.h>, which is read anew at each inclusion: here without a declaration that an author's macros
// could reach. webmesh.hpp has that already.
#undef assert
#ifdef NDEBUG
#define assert(...) ((void)0)
#else
#define assert(...) ((__VA_ARGS__) ? (void)0 : __assert_fail(#__VA_ARGS__, __FILE__, __LINE__, __func__))
#endif
