// SPDX-License-Identifier: MIT
// A plugin with objects of every kind of life, and with what a plugin alone brings: a C++ library.
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <vector>

static std::vector<std::string> of_the_plugin(100, std::string(100, 'x'));
static std::mutex of_the_plugin_lock;
static thread_local std::vector<int> of_the_thread(50, 1);

static std::size_t any(std::size_t value)
{
    asm("" : "+r"(value));
    return value;
}

extern "C" int plugin_work();
int plugin_work()
{
    of_the_thread.resize(of_the_thread.size() + 10, 2);
    {
        const std::lock_guard<std::mutex> held(of_the_plugin_lock);
        of_the_plugin.push_back(std::string(200, 'y'));
    }
    try {
        ::operator delete(::operator new(any(SIZE_MAX / 4)));
    } catch (const std::bad_alloc &) {
        return of_the_thread.front();
    }
    return -1;
}
