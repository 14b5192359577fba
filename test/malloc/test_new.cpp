// SPDX-License-Identifier: MIT
// All operators new and delete of C++17, and what happens when there is no memory.
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "malloc/preloaded.h"

static std::size_t any(std::size_t value)
{
    asm("" : "+r"(value));
    return value;
}

static const std::size_t too_much = SIZE_MAX / 4;
static int handler_calls;

static void gives_up_later()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

struct own_exception {
};

static void throws_its_own()
{
    throw own_exception();
}

template <typename Function> static bool throws_bad_alloc(Function function)
{
    try {
        function();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void variants()
{
    const std::align_val_t wide{256};
    for (std::size_t size = 0; size < 3000000; size = size * 3 + 1) {
        ::operator delete(::operator new(any(size)));
        ::operator delete(::operator new(any(size)), size);
        ::operator delete(::operator new(any(size), std::nothrow), std::nothrow);
        ::operator delete[](::operator new[](any(size)));
        ::operator delete[](::operator new[](any(size)), size);
        ::operator delete[](::operator new[](any(size), std::nothrow), std::nothrow);
        void *block[] = {::operator new(any(size), wide),
                         ::operator new[](any(size), wide),
                         ::operator new(any(size), wide, std::nothrow),
                         ::operator new[](any(size), wide, std::nothrow),
                         ::operator new(any(size), wide),
                         ::operator new[](any(size), wide)};
        for (void *one : block)
            REQUIRE(one != nullptr && reinterpret_cast<std::uintptr_t>(one) % 256 == 0);
        ::operator delete(block[0], wide);
        ::operator delete[](block[1], wide);
        ::operator delete(block[2], wide, std::nothrow);
        ::operator delete[](block[3], wide, std::nothrow);
        ::operator delete(block[4], size, wide);
        ::operator delete[](block[5], size, wide);
    }
    ::operator delete(nullptr);
}

static void without_memory()
{
    const std::align_val_t wide{256};
    REQUIRE(throws_bad_alloc([] { (void)::operator new(any(too_much)); }));
    REQUIRE(throws_bad_alloc([] { (void)::operator new[](any(too_much)); }));
    REQUIRE(throws_bad_alloc([&] { (void)::operator new(any(too_much), wide); }));
    REQUIRE(throws_bad_alloc([&] { (void)::operator new[](any(too_much), wide); }));
    REQUIRE(::operator new(any(too_much), std::nothrow) == nullptr);
    REQUIRE(::operator new[](any(too_much), std::nothrow) == nullptr);
    REQUIRE(::operator new(any(too_much), wide, std::nothrow) == nullptr);
    REQUIRE(::operator new[](any(too_much), wide, std::nothrow) == nullptr);
    REQUIRE(throws_bad_alloc([] { std::vector<char> much(any(too_much)); }));
}

static void handlers()
{
    std::set_new_handler(gives_up_later);
    REQUIRE(throws_bad_alloc([] { (void)::operator new(any(too_much)); }));
    REQUIRE(handler_calls == 3);
    handler_calls = 0;
    std::set_new_handler(gives_up_later);
    REQUIRE(::operator new (any(too_much), std::align_val_t{64}, std::nothrow) == nullptr);
    REQUIRE(handler_calls == 3);

    std::set_new_handler(throws_its_own);
    bool came = false;
    try {
        (void)::operator new(any(too_much));
    } catch (const own_exception &) {
        came = true;
    }
    REQUIRE(came);
    std::set_new_handler(nullptr);
}

static void containers()
{
    std::map<std::string, std::vector<std::shared_ptr<int>>> all;
    for (int i = 0; i < 100000; i++)
        all[std::to_string(i % 5000) + " is a key of some length"].push_back(std::make_shared<int>(i));
    std::size_t sum = 0;
    for (const auto &one : all)
        sum += one.second.size();
    REQUIRE(sum == 100000);
}

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    Dl_info info;
    REQUIRE(dladdr(dlsym(RTLD_DEFAULT, "_Znwm"), &info) != 0);
    REQUIRE(std::strstr(info.dli_fname, std::strcmp(argv[1], "system") == 0 ? "libstdc++" : "libcairn-malloc") !=
            nullptr);
    variants();
    without_memory();
    handlers();
    containers();
    return 0;
}
