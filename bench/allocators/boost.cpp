/* SPDX-License-Identifier: MIT */
#include <boost/interprocess/managed_shared_memory.hpp>

#include <memory>
#include <string>

extern "C" {
#include "allocators/boost.h"
#include "scratch.h"
}

using namespace boost::interprocess;
using segment = managed_shared_memory;

/* Its memory does not grow while others are attached: the file is made this long, with holes until they are touched. */
static constexpr size_t segment_bytes = size_t(1536) << 20;
static constexpr char root_name[] = "block";

/* Unlike for cairn, the name stands in /dev/shm itself. */
static std::string segment_name()
{
    std::string directory = scratch_directory();
    return directory.substr(directory.rfind('/') + 1) + "-boost";
}

const char *heap_version(void)
{
    return BOOST_LIB_VERSION;
}

void *heap_create_named(void)
{
    try {
        return new segment(create_only, segment_name().c_str(), segment_bytes);
    } catch (interprocess_exception &) {
        return nullptr;
    }
}

void *heap_open_named(bool read_only)
{
    try {
        if (read_only)
            return new segment(boost::interprocess::open_read_only, segment_name().c_str());
        return new segment(open_only, segment_name().c_str());
    } catch (interprocess_exception &) {
        return nullptr;
    }
}

void heap_close_named(void *heap)
{
    delete static_cast<segment *>(heap);
}

void heap_unlink_named(void)
{
    shared_memory_object::remove(segment_name().c_str());
}

void *heap_create(void)
{
    return heap_create_named();
}

void heap_destroy(void *heap)
{
    heap_unlink_named();
    heap_close_named(heap);
}

void *heap_alloc(void *heap, size_t size)
{
    return static_cast<segment *>(heap)->allocate(size, std::nothrow);
}

void heap_free(void *heap, void *block)
{
    static_cast<segment *>(heap)->deallocate(block);
}

void heap_publish(void *heap, void *block)
{
    auto *memory = static_cast<segment *>(heap);
    memory->construct<segment::handle_t>(root_name)(memory->get_handle_from_address(block));
}

/* Without a lock: a segment that is open for reading only cannot be locked. */
void *heap_find(void *heap)
{
    auto *memory = static_cast<segment *>(heap);
    auto *root = memory->find_no_lock<segment::handle_t>(root_name).first;
    return root ? memory->get_address_from_handle(*root) : nullptr;
}

double heap_footprint(void *heap)
{
    (void)heap;
    return scratch_footprint("/dev/shm", segment_name().c_str());
}
