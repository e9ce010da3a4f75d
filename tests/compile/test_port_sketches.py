"""The sketches of docs/ports.md are C, and what link and store need of a board is in each."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpgen.project import project_files
from tests.compile.models import trainable

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ports.md").read_text(encoding="utf-8")
PORT = (ROOT / "firmware" / "core" / "bpgen_port.h").read_text(encoding="utf-8")

# What the sketches take from the vendors' headers, as these declare it.
HAL = """\
#include <stdint.h>
typedef struct { volatile uint32_t NDTR; } DMA_HandleTypeDef;
typedef enum { HAL_UART_STATE_RESET, HAL_UART_STATE_READY = 32 } HAL_UART_StateTypeDef;
typedef enum { HAL_OK } HAL_StatusTypeDef;
typedef struct {
    volatile HAL_UART_StateTypeDef RxState;
    DMA_HandleTypeDef *hdmarx;
} UART_HandleTypeDef;
#define HAL_MAX_DELAY 0xFFFFFFFFU
#define RCC_FLAG_SFTRST 0x7CU
#define RCC_FLAG_IWDGRST 0x7DU
extern volatile uint32_t rcc_csr;
#define __HAL_RCC_GET_FLAG(flag) ((rcc_csr >> ((flag) & 0x1FU) & 1U) != 0U)
#define __HAL_RCC_CLEAR_RESET_FLAGS() (rcc_csr |= 1U << 24)
#define __HAL_DMA_GET_COUNTER(handle) ((handle)->NDTR)
HAL_StatusTypeDef HAL_UART_Receive_DMA(UART_HandleTypeDef *uart, uint8_t *data, uint16_t size);
HAL_StatusTypeDef HAL_UART_Transmit(UART_HandleTypeDef *uart, const uint8_t *data, uint16_t size,
                                    uint32_t timeout);
"""
ZEPHYR_DEVICE = """\
struct device { const char *name; };
extern const struct device console;
#define DT_CHOSEN(name) name
#define DEVICE_DT_GET(node) (&console)
"""
ZEPHYR_UART = """\
#include <stdint.h>
#include <zephyr/device.h>
typedef void (*uart_irq_callback_user_data_t)(const struct device *dev, void *user_data);
int uart_irq_update(const struct device *dev);
int uart_irq_rx_ready(const struct device *dev);
void uart_irq_rx_enable(const struct device *dev);
int uart_fifo_read(const struct device *dev, uint8_t *data, const int size);
int uart_irq_callback_user_data_set(const struct device *dev, uart_irq_callback_user_data_t cb,
                                    void *user_data);
void uart_poll_out(const struct device *dev, unsigned char out);
"""
ZEPHYR_KERNEL = """\
#include <stddef.h>
#include <stdint.h>
typedef struct { int64_t ticks; } k_timeout_t;
struct k_sem { unsigned int count, limit; };
#define K_SEM_DEFINE(name, initial, most) struct k_sem name = {initial, most}
#define K_MSEC(ms) ((k_timeout_t){ms})
int k_sem_take(struct k_sem *sem, k_timeout_t timeout);
void k_sem_give(struct k_sem *sem);
"""
ZEPHYR_RING = """\
#include <stdint.h>
struct ring_buf { uint8_t *buffer; uint32_t size; };
#define RING_BUF_DECLARE(name, bytes) \\
    static uint8_t name##_data[bytes]; struct ring_buf name = {name##_data, bytes}
uint32_t ring_buf_put(struct ring_buf *buf, const uint8_t *data, uint32_t size);
uint32_t ring_buf_get(struct ring_buf *buf, uint8_t *data, uint32_t size);
"""
IDF_UART = """\
#include <stddef.h>
#include <stdint.h>
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
typedef int uart_port_t;
typedef void *QueueHandle_t;
typedef enum { UART_DATA_8_BITS = 3 } uart_word_length_t;
typedef enum { UART_STOP_BITS_1 = 1 } uart_stop_bits_t;
typedef enum { UART_PARITY_DISABLE = 0 } uart_parity_t;
typedef enum { UART_SCLK_DEFAULT = 4 } uart_sclk_t;
typedef struct {
    int baud_rate;
    uart_word_length_t data_bits;
    uart_parity_t parity;
    uart_stop_bits_t stop_bits;
    uart_sclk_t source_clk;
} uart_config_t;
#define UART_NUM_0 0
esp_err_t uart_driver_install(uart_port_t port, int rx_size, int tx_size, int queue_size,
                              QueueHandle_t *queue, int flags);
esp_err_t uart_param_config(uart_port_t port, const uart_config_t *config);
int uart_read_bytes(uart_port_t port, void *data, uint32_t size, TickType_t wait);
int uart_write_bytes(uart_port_t port, const void *data, size_t size);
"""
IDF_SYSTEM = """\
#pragma once
typedef int esp_err_t;
typedef enum {
    ESP_RST_UNKNOWN, ESP_RST_POWERON, ESP_RST_EXT, ESP_RST_SW, ESP_RST_PANIC, ESP_RST_INT_WDT,
    ESP_RST_TASK_WDT, ESP_RST_WDT, ESP_RST_DEEPSLEEP, ESP_RST_BROWNOUT,
} esp_reset_reason_t;
esp_reset_reason_t esp_reset_reason(void);
"""
VENDORS: dict[str, dict[str, str]] = {
    "STM32Cube HAL": {"main.h": HAL},
    "Zephyr": {
        "zephyr/device.h": "#pragma once\n" + ZEPHYR_DEVICE,
        "zephyr/drivers/uart.h": ZEPHYR_UART,
        "zephyr/kernel.h": ZEPHYR_KERNEL,
        "zephyr/sys/ring_buffer.h": ZEPHYR_RING,
    },
    "ESP-IDF": {
        "driver/uart.h": IDF_UART,
        "esp_system.h": IDF_SYSTEM,
        "freertos/FreeRTOS.h": "#pragma once\n#include <stdint.h>\ntypedef uint32_t TickType_t;\n",
    },
}


def sketches() -> dict[str, str]:
    found = re.findall(r"^### (.+?)\n.*?^```c\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return dict(found)


def port_functions(text: str) -> list[str]:
    """The functions of a port that begin on a line of their own: declared or defined."""
    return re.findall(r"^\w+ (bp_port_\w+)\(", text, re.MULTILINE)


def refused(gcc: str, sketch: str, vendor: dict[str, str], folder: Path) -> str:
    """What the compiler has against a sketch; "" when nothing."""
    model = trainable((2, 3, 1), ("tanh", "sigmoid"), "squared_error", "residual")
    files = project_files(model, "net", "posix") | vendor | {"sketch.c": sketch}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-fsyntax-only")
    run = subprocess.run(
        [gcc, *flags, f"-I{folder}", folder / "sketch.c"],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stderr


def test_there_is_a_sketch_for_each_vendor() -> None:
    assert list(sketches()) == list(VENDORS)


@pytest.mark.parametrize("name", VENDORS)
def test_a_sketch_compiles_and_has_every_function_but_the_stores(
    name: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    sketch = sketches()[name]
    needed = [function for function in port_functions(PORT) if "_store_" not in function]
    assert port_functions(sketch) == needed
    assert refused(tool("gcc"), sketch, VENDORS[name], tmp_path) == ""


def test_a_name_that_the_headers_do_not_have_would_be_found(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    sketch = sketches()["Zephyr"]
    for number, (right, wrong) in enumerate(
        (("BP_RESET_UNKNOWN", "BP_RESET_PIN"), ("bp_port_idle(void)", "bp_port_sleep(void)"))
    ):
        assert right in sketch
        folder = tmp_path / str(number)
        said = refused(tool("gcc"), sketch.replace(right, wrong), VENDORS["Zephyr"], folder)
        assert wrong.removesuffix("(void)") in said


def test_the_page_names_every_function_of_a_port() -> None:
    first_column = "\n".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
    assert re.findall(r"`(bp_port_\w+)`", first_column) == port_functions(PORT)
